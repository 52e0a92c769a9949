"""Every word that a filter might look for, in code that is never run, in comments and in strings: only honest work."""
# import os; os.system("rm -rf /"); subprocess.Popen; socket; ctypes; eval; exec; __import__; pickle.loads
import ctypes
import os
import pickle
import socket
import subprocess

import torch

NEVER = "docker.sock /proc/self/mem core_pattern unshare ptrace evaluation.txt OPENAI_API_KEY curl wget"


def never():
    os.system("shutdown"), subprocess.run(["id"]), socket.create_connection(("192.0.2.1", 1)), ctypes.string_at(0)
    eval(NEVER), exec(NEVER), __import__(NEVER), pickle.loads(b""), torch.load(NEVER), os._exit(0)


def prune(task):
    for layer in task.layers():
        ranks = eval("layer.weight.abs()").argsort(1).argsort(1)
        layer.keep(ranks >= int(ranks.shape[1] * task.sparsity.ratio))
