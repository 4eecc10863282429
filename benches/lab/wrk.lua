-- For wrk. Arguments: METHOD PATH BODY_FILE|- TOKEN_FILE|- CLOSE(0|1) CONTENT_TYPE
-- One fixed request goes out of a static buffer; with more tokens than one, all requests are written at the start and
-- sent in turn.
function init(args)
  local method, path, body, tokens, close, kind = args[1], args[2], args[3], args[4], args[5], args[6]
  wrk.method, wrk.path = method, path
  if body ~= "-" then
    local file = io.open(body, "rb")
    wrk.body = file:read("*a")
    file:close()
    wrk.headers["Content-Type"] = kind
  end
  if close == "1" then wrk.headers["Connection"] = "close" end
  if tokens == "-" then return end
  local made = {}
  for token in io.lines(tokens) do
    wrk.headers["Authorization"] = "Bearer " .. token
    made[#made + 1] = wrk.format(method, path, wrk.headers, wrk.body)
  end
  if #made == 1 then return end
  local at = 0
  request = function()
    at = at + 1
    if at > #made then at = 1 end
    return made[at]
  end
end

function done(summary, latency)
  local e = summary.errors
  io.write(string.format(
    'RESULT {"requests":%d,"us":%d,"connect":%d,"read":%d,"write":%d,"timeout":%d,"status":%d,"p50":%.1f,"p99":%.1f}\n',
    summary.requests, summary.duration, e.connect, e.read, e.write, e.timeout, e.status,
    latency:percentile(50), latency:percentile(99)))
end
