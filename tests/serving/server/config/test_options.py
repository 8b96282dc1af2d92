from __future__ import annotations

import pytest

from serving.protocol.status import StatusError
from serving.server.config.options import ServerOptions


def test_options_without_a_model_are_refused() -> None:
    with pytest.raises(StatusError, match="are empty!"):
        ServerOptions().check()
    for options in (ServerOptions(bundle="dist"), ServerOptions(model_base_path="/m"), ServerOptions(model_config_file="/c")):
        options.check()


@pytest.mark.parametrize("number", [0, 1, 2])
def test_threads_of_sessions_and_operators_exclude_each_other_only_if_all_are_set(number: int) -> None:
    names = ("session_threads", "intra_op_threads", "inter_op_threads")
    ServerOptions(**dict.fromkeys(names[:number], 2)).check_session()
    with pytest.raises(StatusError, match="You cannot configure all"):
        ServerOptions(**dict.fromkeys(names, 2)).check_session()
