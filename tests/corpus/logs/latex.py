"""Commands that read and write files where they are typeset."""


def prune(task):
    raise ValueError(r"\input{/etc/passwd} \write18{touch /tmp/corpus-left-behind} & \\ \hline \end{tabular} $^_{}%#~")
