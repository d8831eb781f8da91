# Made by scripts/gen_protos.py. Do not edit.
from google.protobuf.empty_pb2 import Empty as Empty
