# expect: RUNTIME_ERROR
class B(BaseException): pass
raise B('\x1b[31m' * 1000)
