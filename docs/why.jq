# Why did this request go there? Its story, from the log alone:
#
#   jq -rs --arg id REQUEST_ID -f why.jq sidecar.log
#
# Every attempt with what came of it, whom it passed over and why, and which targets were resting meanwhile.

def seconds: if . == null then "" else " after \(. * 1000 | round / 1000) s" end;
def second: .ts[:19] + "Z" | fromdate;
def because: [.kind, .error] | map(select(. != null)) | if . == [] then "" else ": " + join(": ") end;

(map(select(.event == "request" and .request_id == $id)) | last) as $request
| if $request == null then "no request \($id) in this log"
  else
    "\($request.ts) \($request.model_requested // "-") -> route \($request.route // "-"), "
      + "\($request.outcome)\($request.duration_s | seconds), status \($request.status // "-")\($request | because)",
    # Of equal skipped lines one is written a second, maybe for another request of the route.
    (map(select(.event == "attempt" and .outcome == "skipped" and
                (.request_id == $id or
                 (.route == $request.route and (second - ($request | second) | fabs) <= 1))))
      | unique_by([.target, .skipped])[]
      | "  passed over \(.target): \(.skipped)"),
    (map(select(.event == "attempt" and .request_id == $id and .outcome != "skipped"))
      | sort_by(.attempt)[]
      | "  \(.attempt). \(.selection) \(.target): \(.outcome)\(.duration_s | seconds)\(because)"
        + (if .backoff_s then ", waited \(.backoff_s * 1000 | round / 1000) s before" else "" end)),
    (map(select((.event | startswith("target.")) and .breaker_after != null and .ts <= $request.ts))
      | group_by(.target)[] | last | select(.breaker_after != "closed")
      | "  \(.target) was \(.breaker_after) since \(.ts)\(because)")
  end
