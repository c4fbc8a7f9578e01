-- What the API says of a result beside the job.
ALTER TABLE results ADD COLUMN language_probability DOUBLE PRECISION; -- NULL: the language was given, or nobody says
ALTER TABLE results ADD COLUMN warning TEXT;                          -- about the whole; NULL: none
