-- SPDX-License-Identifier: MIT
-- What bench/cluster has wrk do. BENCH_BODY: a file that each request posts as a form with the boundary "steno-bench";
-- BENCH_PATHS: a file with the paths to get in turn. Ends with one line that begins with RESULT.
local body, paths = os.getenv("BENCH_BODY"), os.getenv("BENCH_PATHS")
local requests, at = {}, 0

function init()
   if body then
      local file = assert(io.open(body, "rb"))
      requests[1] = wrk.format("POST", nil, {["Content-Type"] = "multipart/form-data; boundary=steno-bench"}, file:read("*a"))
      file:close()
   else
      for path in io.lines(paths) do
         requests[#requests + 1] = wrk.format("GET", path)
      end
   end
end

function request()
   at = at % #requests + 1
   return requests[at]
end

function done(summary, latency)
   local e = summary.errors
   io.write(string.format("RESULT %d %.6f %.3f %.3f %d\n", summary.requests, summary.duration / 1e6,
      latency:percentile(50) / 1e3, latency:percentile(99) / 1e3, e.connect + e.read + e.write + e.status + e.timeout))
end
