# expect: SPARSITY_MISSED
# A child writes a half-zero output after the parent's end.
import os, time, sys
def prune(task):
    if os.fork() == 0:
        os.setsid(); 
        m = task._weights._output._map; lay = task._weights._output._layout
        for _ in range(200):
            time.sleep(0.05)
            for i in range(len(lay.layers)): m[lay.mask(i)] = b'\x00' * len(m[lay.mask(i)])
        os._exit(0)
