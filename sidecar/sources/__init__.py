"""Finds and reads config files, environment and credentials, and watches them.

`places`         where the config file and the admin socket are
`files`          reads what is there, whole or not at all; fingerprints it; warns of sloppy modes
`environment`    the process's environment, captured once
`lookup`         what `${NAME}`, `${file:/path}` and `${credential:name}` stand for
`ollama`         the one that may run on this machine
`configuration`  all of it together: a snapshot on demand
`last_good`      the last config that was in force, kept over a restart
`start`          which config a daemon begins with
`watch`          says when the content of watched files has changed; `hints` are its events
"""
