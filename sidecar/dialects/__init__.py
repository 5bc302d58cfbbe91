"""Wire formats: bytes and JSON on one side, facts and values on the other.

`dialect`             what every dialect gives; `table`: the dialects by name
`forms`               how one attempt is asked and its answer read: as it came, or translated
`body`                a request: a glance at its top level, and splicing into it
`sse`                 a stream as frames; `mould`: frames that differ from one before in their text only
`relay`               a stream on its way through: what passes, what is seen
`translate`           the same by way of events, for a client of another dialect
`rescue`              a stream that another target goes on with
`estimates`           how many tokens a request has, where nobody can be asked
`openai_chat`         the dialect of chats; `openai_facts`: what its answers and events tell of themselves
`openai_reading`      its answers as values of the Python API
`openai_completions`  completions by way of chat
`openai_responses`    the Responses dialect, and the map of its parts; `openai_shared`: what it and the chat both say
`openai_errors`       errors, both ways; `openai_kinds`: which kind each is; `retry_after`: when to ask again;
                      `openai_responses_errors`, `anthropic_errors`, `gemini_errors`, `bedrock_errors` likewise
`anthropic_messages`  Anthropic's dialect
`gemini_generate`     Gemini's dialect, and the map of its parts
`bedrock_converse`    Bedrock's, as a provider's alone
`losses`              how losses are noted; `fitting`: what a model refuses, taken out before it is sent
`fields`, `media`, `efforts`   parts that several dialects have
`lanes`               blocks that overlap on the wire, told one after the other
`loose`               JSON from servers that only nearly speak the dialect

Pure: no I/O, no clock.
"""
