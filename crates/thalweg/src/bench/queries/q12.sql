-- bids of each bidder per 10 s. Nexmark defines it by the machine's clock, which makes the answer depend on speed; here
-- the windows are those of event time
SELECT bidder, count(*) AS bid_count, window_start AS start_time, window_end AS end_time
FROM TUMBLE(TABLE bid, DESCRIPTOR(ts), INTERVAL '10' SECOND)
GROUP BY bidder, window_start, window_end
