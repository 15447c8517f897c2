complete --keep-order --exclusive --command pachat --arguments "(COMPLETE=fish pachat -- (commandline --current-process --tokenize --cut-at-cursor) (commandline --current-token))"
