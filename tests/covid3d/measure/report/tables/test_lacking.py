import pytest

from examples.covid3d.common.errors import UserError
from examples.covid3d.measure.report.tables.differences import differences_table
from examples.covid3d.measure.report.tables.every_metric import all_metrics_table
from examples.covid3d.measure.report.tables.folds import folds_table
from examples.covid3d.measure.report.tables.papers import table4
from examples.covid3d.measure.report.tables.seeds import seeds_table
from tests.covid3d.measure.report.measured_rows import LABELS, ROWS


def test_a_method_without_results_is_an_error():
    for build in (folds_table, table4, seeds_table):
        with pytest.raises(UserError, match="no result of ua-mt"):
            build(ROWS, ["rgs", "ua-mt"], LABELS)
    with pytest.raises(UserError, match="no result of ua-mt"):
        all_metrics_table(ROWS, ["ua-mt"], LABELS)
    with pytest.raises(UserError, match="no result of random"):
        differences_table(ROWS, ["rgs"], ["random"], LABELS)
