"""Numbers and tables of them, as a terminal shows them."""

from rayformer.cli.output import SHOWN_ROWS, number_lines


def test_a_table_stands_below_the_numbers_in_its_own_order():
    rows = {"dog": {"accuracy": 0.9, "pictures": 4}, "cat": {"accuracy": 0.25, "pictures": 12}}
    assert number_lines({"top1": 0.5, "by_class": rows}).splitlines() == [
        "top1  0.5",
        "",
        "BY CLASS  ACCURACY  PICTURES",
        "dog       0.9       4",
        "cat       0.25      12",
    ]


def test_of_a_long_table_the_rows_with_the_least_are_shown_and_what_is_no_number_last():
    rows = {f"class {n}": {"accuracy": float(n)} for n in reversed(range(SHOWN_ROWS + 5))}
    rows["empty"] = {"accuracy": float("nan")}
    lines = number_lines({"by_class": rows, "top1": 1.0}).splitlines()
    assert [line.split()[1] for line in lines[3:-1]] == [str(n) for n in range(SHOWN_ROWS)]
    assert lines[-1] == "6 more, of higher accuracy; --json has all"
    assert "empty" not in "".join(lines)


def test_without_a_table_nothing_is_added():
    assert number_lines({"psnr_db": 24.125, "files": ["a"]}) == "psnr_db  24.12\nfiles    ['a']"
