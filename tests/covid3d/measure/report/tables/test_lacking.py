from types import SimpleNamespace

import pytest

from examples.covid3d.common.config import Config
from examples.covid3d.common.errors import UserError
from examples.covid3d.measure.report.tables.chosen import tables_of
from examples.covid3d.measure.report.tables.differences import differences_table
from examples.covid3d.measure.report.tables.every_metric import all_metrics_table
from examples.covid3d.measure.report.tables.folds import folds_table
from examples.covid3d.measure.report.tables.papers import table4
from examples.covid3d.measure.report.tables.seeds import seeds_table
from tests.covid3d.measure.report.measured_rows import LABELS, ROWS, result


def test_a_method_without_results_is_an_error():
    for build in (folds_table, table4, seeds_table):
        with pytest.raises(UserError, match="no result of ua-mt"):
            build(ROWS, ["rgs", "ua-mt"], LABELS)
    with pytest.raises(UserError, match="no result of ua-mt"):
        all_metrics_table(ROWS, ["ua-mt"], LABELS)
    with pytest.raises(UserError, match="no result of random"):
        differences_table(ROWS, ["rgs"], ["random"], LABELS)


def test_a_table_of_a_source_leaves_out_a_row_that_was_not_tested_there():
    rows = [
        result("equal", 0, 1, "a", 0.5, source="here"),
        result("equal", 0, 2, "b", 0.5, source="there"),
        result("nnunet", 0, 1, "a", 0.6, source="here"),
    ]
    context = SimpleNamespace(config=Config(folds=2))
    tables = tables_of(SimpleNamespace(metrics=rows, methods=["equal", "nnunet"], context=context))
    assert len(tables["source_here"].rows) == 2
    assert len(tables["source_there"].rows) == 1
