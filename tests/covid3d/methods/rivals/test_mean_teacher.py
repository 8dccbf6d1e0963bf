from __future__ import annotations

import io

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from examples.covid3d.methods.rivals.mean_teacher import MeanTeacher
from support.unet import build_network


def small():
    return nn.Sequential(nn.Conv3d(1, 2, 1), nn.BatchNorm3d(2), nn.Dropout(0.5))


def randomise(module, seed):
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for value in [*module.parameters(), *module.buffers()]:
            if value.is_floating_point():
                value.copy_(torch.rand(value.shape, generator=generator))
            else:
                value.add_(1)


def flat(module):
    values = [*module.parameters(), *module.buffers()]
    return torch.cat([v.detach().double().flatten() for v in values if v.is_floating_point()])


@settings(deadline=None, max_examples=20)
@given(updates=st.integers(1, 12), decay=st.sampled_from([0.0, 0.5, 0.8, 0.99]))
def test_equals_an_explicit_loop(updates, decay):
    student = small()
    teacher = MeanTeacher(student, decay)
    expected = flat(student)
    for t in range(updates):
        randomise(student, t)
        teacher.update(student)
        alpha = min(1 - 1 / (t + 1), decay)
        expected = alpha * expected + (1 - alpha) * flat(student)
    torch.testing.assert_close(flat(teacher.module), expected, rtol=0, atol=1e-5)
    assert teacher.updates == updates
    assert teacher.module[1].num_batches_tracked == student[1].num_batches_tracked


def test_starts_as_the_plain_mean():
    student = small()
    teacher = MeanTeacher(student, 0.9)
    seen = []
    for t in range(5):
        randomise(student, t)
        teacher.update(student)
        seen.append(flat(student))
    torch.testing.assert_close(flat(teacher.module), torch.stack(seen).mean(0), rtol=0, atol=1e-6)


def test_student_is_left_alone_and_teacher_has_no_gradient():
    student = small()
    teacher = MeanTeacher(student)
    before = flat(student).clone()
    teacher.update(student)
    assert torch.equal(flat(student), before)
    assert all(p.requires_grad for p in student.parameters())
    assert not any(p.requires_grad for p in teacher.module.parameters())
    assert not teacher(torch.rand(2, 1, 3, 3, 3, requires_grad=True)).requires_grad
    randomise(student, 1)
    assert torch.equal(flat(teacher.module), before)


@pytest.mark.parametrize("training", [True, False])
def test_mode_is_the_teachers_own_and_asking_changes_nothing(training):
    student = small().train(not training)
    randomise(student, 0)
    teacher = MeanTeacher(student, training=training)
    images = torch.rand(4, 1, 3, 3, 3) + 5
    before = [b.clone() for b in teacher.module.buffers()]
    module = small().train(training)
    module.load_state_dict(student.state_dict())
    torch.manual_seed(0)
    answer = teacher(images)
    torch.manual_seed(0)
    torch.testing.assert_close(answer, module(images).detach())
    assert all(torch.equal(a, b) for a, b in zip(before, teacher.module.buffers(), strict=True))
    teacher.update(student.train())
    assert teacher.module.training is training
    assert teacher.train(not training).module.training is not training
    assert teacher.eval().module.training is False


def test_resumes_exactly():
    student = small()
    straight = MeanTeacher(student, 0.7)
    for t in range(3):
        randomise(student, t)
        straight.update(student)
    file = io.BytesIO()
    torch.save(straight.state_dict(), file)
    file.seek(0)
    resumed = MeanTeacher(small(), 0.7)
    resumed.load_state_dict(torch.load(file, weights_only=True))
    for t in range(3, 6):
        randomise(student, t)
        straight.update(student)
        resumed.update(student)
    assert torch.equal(flat(straight.module), flat(resumed.module))
    assert resumed.updates == 6


def test_follows_the_network_of_table_1():
    student = build_network()
    teacher = MeanTeacher(student)
    teacher.update(student)
    assert teacher(torch.rand(1, 1, 32, 32, 32)).shape == (1, 2, 32, 32, 32)


def test_refuses_another_module_and_a_bad_decay():
    with pytest.raises(ValueError, match="teacher"):
        MeanTeacher(small()).update(nn.Sequential(nn.Conv3d(1, 3, 1), nn.BatchNorm3d(3)))
    with pytest.raises(ValueError, match="decay"):
        MeanTeacher(small(), 1.0)
