import pytest
from served import serving


@pytest.fixture(scope="session")
def served():
    """A server with its default settings, for all tests of a process."""
    with serving() as found:
        yield found
