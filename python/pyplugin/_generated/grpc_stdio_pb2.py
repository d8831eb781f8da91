# Made by scripts/gen_protos.py. Do not edit.
from ._pool import message_class

StdioData = message_class("plugin.StdioData")
