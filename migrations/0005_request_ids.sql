-- Logs of api and worker about one job are found by the id of the request that submitted it.
ALTER TABLE jobs ADD COLUMN request_id TEXT; -- NULL: submitted by an older version
