# make_tensorboard.py -- writes tensorboard.json: records as TensorBoard's own library makes them.
# Needs: pip install tensorboard (made with 2.21.0). Run: python3 tests/golden/make_tensorboard.py
import io
import json
import os

from tensorboard.compat.proto import event_pb2, summary_pb2
from tensorboard.summary.writer.record_writer import RecordWriter


class Kept(io.BytesIO):
    def close(self):
        pass


def record(event):
    out = Kept()
    RecordWriter(out).write(event.SerializeToString())
    return out.getvalue().hex()


def scalars(time, step, values):
    summary = summary_pb2.Summary(
        value=[summary_pb2.Summary.Value(tag=k, simple_value=v) for k, v in sorted(values.items())])
    return record(event_pb2.Event(wall_time=time, step=step, summary=summary))


cases = [
    {"time": 1795486263.5, "step": 0, "values": {"train/loss": 0.6931}},
    {"time": 1795486264.0, "step": 1, "values": {"train/loss": 0.5, "train/lr": 5e-5}},
    {"time": 1795486265.25, "step": 300, "values": {"eval/accuracy": 0.828, "a": -1.5, "z" * 200: 1e30}},
    {"time": 1795486266.0, "step": 5000000, "values": {"é": 3.0}},
]
for c in cases:
    c["record"] = scalars(c["time"], c["step"], c["values"])
version = record(event_pb2.Event(wall_time=1795486263.0, file_version="brain.Event:2"))
path = os.path.join(os.path.dirname(__file__), "tensorboard.json")
with open(path, "w") as f:
    json.dump({"version": {"time": 1795486263.0, "record": version}, "cases": cases}, f, indent=1)
