# Made by scripts/gen_protos.py. Do not edit.
from ._pool import message_class

ConnInfo = message_class("plugin.ConnInfo")
