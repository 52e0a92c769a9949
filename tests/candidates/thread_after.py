# expect: SPARSITY_MISSED
import threading, time, atexit
def go():
    while True: time.sleep(0.01)
def prune(task):
    for _ in range(10): threading.Thread(target=go).start()
    atexit.register(time.sleep, 100)
