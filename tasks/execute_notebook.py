"""Executes a notebook by nbconvert in its own folder: execute_notebook.py IN.ipynb OUT.ipynb

Exit code 1 when a cell throws; the last lines on stderr then say which and why.
"""

import asyncio
import pathlib
import sys

import nbformat
from nbclient.exceptions import CellExecutionError
from nbconvert.preprocessors import ExecutePreprocessor

QUIET_SECONDS = 0.2


class PatientExecutor(ExecutePreprocessor):
    """Takes outputs that the Deno kernel sends after it has said that it is idle; nbclient alone would drop them."""

    async def _async_poll_output_msg(self, parent_msg_id, cell, cell_index):
        await super()._async_poll_output_msg(parent_msg_id, cell, cell_index)
        while True:
            try:
                late = await asyncio.wait_for(self.kc.iopub_channel.get_msg(timeout=None), QUIET_SECONDS)
            except asyncio.TimeoutError:
                return
            if late["parent_header"].get("msg_id") == parent_msg_id and late["msg_type"] != "status":
                self.process_message(late, cell, cell_index)


def main(source, target):
    notebook = nbformat.read(source, as_version=4)
    executor = PatientExecutor(timeout=1800, kernel_name="deno", record_timing=False, coalesce_streams=True)
    try:
        executor.preprocess(notebook, {"metadata": {"path": str(pathlib.Path(source).parent)}})
    except CellExecutionError as error:
        failed = [any(o.output_type == "error" for o in cell.get("outputs", [])) for cell in notebook.cells]
        print(f"cell {failed.index(True) + 1}: {error.ename}: {error.evalue}", file=sys.stderr)
        return 1
    nbformat.write(notebook, target)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
