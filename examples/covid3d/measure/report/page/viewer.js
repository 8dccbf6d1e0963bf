// Scrolls through the slices of a case: wheel, keys, slider. Without it the middle slice stands.
for (const hint of document.querySelectorAll(".hint")) hint.hidden = false;
for (const figure of document.querySelectorAll(".case[data-slices]")) {
  const data = JSON.parse(figure.dataset.slices);
  const image = figure.querySelector("image");
  const outlines = figure.querySelectorAll(".slice path");
  const controls = figure.querySelector(".slider");
  const slider = controls.querySelector("input");
  const said = controls.querySelector("output");
  const last = data.paths[0].length - 1;
  let shown = data.start;

  const show = (number) => {
    shown = Math.max(0, Math.min(last, number));
    image.setAttribute("x", -(shown % data.columns) * data.width);
    image.setAttribute("y", -Math.floor(shown / data.columns) * data.height);
    outlines.forEach((path, row) => path.setAttribute("d", data.paths[row][shown]));
    slider.value = shown;
    const text = `slice ${data.numbers[shown]} of ${data.of}`;
    said.textContent = text;
    slider.setAttribute("aria-valuetext", text);
  };

  let turned = 0;
  figure.querySelector(".slice").addEventListener("wheel", (event) => {
    if (event.ctrlKey) return;
    const down = event.deltaY > 0;
    // At either end the page scrolls on.
    if (down ? shown === last : shown === 0) return;
    event.preventDefault();
    turned += event.deltaMode ? event.deltaY * 40 : event.deltaY;
    if (Math.abs(turned) < 30) return;
    turned = 0;
    show(shown + (down ? 1 : -1));
  }, { passive: false });

  const step = { ArrowUp: -1, ArrowLeft: -1, ArrowDown: 1, ArrowRight: 1, PageUp: -5, PageDown: 5 };
  figure.addEventListener("keydown", (event) => {
    if (event.target !== figure) return;
    const to = { Home: 0, End: last }[event.key] ?? shown + step[event.key];
    if (Number.isNaN(to)) return;
    event.preventDefault();
    show(to);
  });
  slider.addEventListener("input", () => show(Number(slider.value)));
  figure.querySelectorAll(".key input").forEach((box, row) => {
    box.addEventListener("change", () => { outlines[row].style.display = box.checked ? "" : "none"; });
    box.hidden = false;
  });
  figure.tabIndex = 0;
  controls.hidden = false;
  show(shown);
}
