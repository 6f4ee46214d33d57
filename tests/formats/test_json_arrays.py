import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bpr.formats import json_arrays
from bpr.formats.json_arrays import array_spans

SCALARS = st.none() | st.booleans() | st.integers() | st.text()
OBJECTS = st.dictionaries(st.text(), SCALARS | st.lists(SCALARS))


@given(
    st.lists(OBJECTS), st.integers(1, 40), st.booleans(), st.sampled_from([None, 1]), st.sampled_from(["", "\ufeff"])
)
def test_items_are_found_whatever_the_chunks_are(items, chunk, escaped, indent, mark):
    content = (mark + json.dumps(items, ensure_ascii=escaped, indent=indent)).encode("utf-8", "surrogatepass")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_arrays, "_CHUNK", chunk)
        found = list(array_spans(io.BytesIO(content)))
    assert [item for _, _, item in found] == items
    assert [json.loads(content[start : start + length]) for start, length, _ in found] == items


@given(st.dictionaries(st.text(), SCALARS | OBJECTS), st.lists(OBJECTS), st.integers(1, 40), st.booleans())
def test_items_of_a_member_are_found_whatever_the_chunks_are(before, items, chunk, escaped):
    before.pop("items", None)
    content = json.dumps({**before, "items": items, "after": 3}, ensure_ascii=escaped).encode("utf-8", "surrogatepass")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_arrays, "_CHUNK", chunk)
        found = list(array_spans(io.BytesIO(content), "items"))
    assert [item for _, _, item in found] == items
    assert [json.loads(content[start : start + length]) for start, length, _ in found] == items


@pytest.mark.parametrize("text", ['{"a": 1}', "{}", "[]", '{"a": 1, "items"', '{"items" []}'])
def test_an_array_that_is_no_member_is_an_error(text):
    with pytest.raises(json.JSONDecodeError):
        list(array_spans(io.BytesIO(text.encode()), "items"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "Expecting value"),
        ("[1, 2", "Expecting ',' delimiter"),
        ("[1 2]", "Expecting ',' delimiter: byte 3"),
        ("[1,]", "Expecting value: byte 3"),
        ('[{"a": ]', "Expecting value: byte 7"),
        ("[] []", "Extra data: byte 3"),
        ("nonsense", None),
    ],
)
def test_what_is_no_array_is_an_error_with_its_place(text, message):
    with pytest.raises(json.JSONDecodeError if message else TypeError, match=message):
        list(array_spans(io.BytesIO(text.encode())))
