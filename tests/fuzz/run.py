"""Fuzz one reader with atheris: ``python tests/fuzz/run.py READER [-runs=N]``; more arguments are libFuzzer's.

It looks for inputs that reach new places of the code (``pip install atheris``). One that ends in an error outside of
the closed list is written to ``crash-*`` in the current folder; once mended it goes to ``findings``, without its first
byte, as ``READER-FILE-WHAT``.
"""

import gc
import sys
import tempfile
import warnings
from pathlib import Path
from random import Random

import atheris

sys.path.insert(0, str(Path(__file__).parents[1]))
warnings.simplefilter("ignore")

with atheris.instrument_imports(include=["bpr", "yaml", "PIL", "json"]):
    from fuzz.mutations import mutate
    from fuzz.readers import READERS, Sample

_BLIND = 0.5
"""Share of the inputs that atheris changes itself."""


def main() -> None:
    """Fuzz the reader that the first argument names; the first byte of an input says which file of its sample it is."""
    name = sys.argv.pop(1) if len(sys.argv) > 1 else ""
    if name not in READERS:
        sys.exit(f"usage: python tests/fuzz/run.py READER [-runs=N]; READER is one of {', '.join(READERS)}")
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:
        (Path(folder) / "corpus").mkdir()
        (Path(folder) / "whole").mkdir()
        contents = Sample(name, Path(folder) / "whole").contents
        samples = []
        for number, content in enumerate(contents):
            (Path(folder) / str(number)).mkdir()
            samples.append(Sample(name, Path(folder) / str(number)))
            samples[number].leave_out_others(number)
            (Path(folder) / "corpus" / str(number)).write_bytes(bytes([number]) + content)

        def read(data: bytes) -> None:
            number = data[0] % len(contents) if data else 0
            samples[number].read_with(number, data[1:])

        def change(data: bytes, longest: int, seed: int) -> bytes:
            random = Random(seed)
            if random.random() < _BLIND:
                return bytes(atheris.Mutate(data, longest))
            return data[:1] + mutate(data[1:], random)[: longest - 1]

        gc.collect()
        gc.freeze()  # what is imported need not be searched for garbage
        options = ["-timeout=10", "-rss_limit_mb=4096", "-max_len=65536", *sys.argv[1:]]
        atheris.Setup([sys.argv[0], *options, f"{folder}/corpus"], read, custom_mutator=change)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
