-- user sessions: bids of each bidder until 10 s without one
SELECT bidder, count(*) AS bid_count, window_start AS start_time, window_end AS end_time
FROM SESSION(TABLE bid PARTITION BY bidder, DESCRIPTOR(ts), INTERVAL '10' SECOND)
GROUP BY bidder, window_start, window_end
