# Made by scripts/gen_protos.py. Do not edit.
