"""Wire formats: bytes and JSON on one side, facts and values on the other.

`body`                a request: a glance at its top level, and splicing into it
`sse`                 a stream as frames
`relay`               a stream on its way through: what passes, what is seen
`rescue`              a stream that another target goes on with
`openai_facts`        answers and events of the dialect: their facts
`openai_reading`      the same as values of the Python API
`openai_completions`  completions by way of chat
`openai_errors`       errors, both ways; `openai_kinds`: which kind each is; `retry_after`: when to ask again
`openai_responses`    the Responses dialect, and the map of its parts
`gemini_generate`     Gemini's dialect, and the map of its parts
`lanes`               blocks that overlap on the wire, told one after the other
`loose`               JSON from servers that only nearly speak the dialect

Pure: no I/O, no clock.
"""
