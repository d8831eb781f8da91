# Made by scripts/gen_protos.py. Do not edit.
from ._pool import message_class

Empty = message_class("google.protobuf.Empty")
