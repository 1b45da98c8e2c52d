import copy
import pickle

import pytest

from splat_assets.errors import InputError, SplatError
from splat_assets.store.errors import FeatureNotFoundError, FingerprintMismatchError, SampleNotFoundError


@pytest.mark.parametrize(
    "error",
    [
        InputError("one sentence"),
        FeatureNotFoundError(900, 512, "here"),
        SampleNotFoundError(7, 0, "here"),
        FingerprintMismatchError("the SAE", "a" * 64, "b" * 64, "train it again"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_from_another_process_says_and_holds_the_same(error: SplatError) -> None:
    for found in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert type(found) is type(error)
        assert str(found) == str(error)
        assert vars(found) == vars(error)
