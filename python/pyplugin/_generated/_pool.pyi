# Made by scripts/gen_protos.py. Do not edit.
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import Message

POOL: DescriptorPool

def message_class(name: str) -> type[Message]: ...
