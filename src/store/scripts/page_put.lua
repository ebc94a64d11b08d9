-- Ends the turn of a replica that has read a page for all, and keeps the page.
--
-- KEYS[1]  the page, KEYS[2] who is reading it: see page_look.lua
-- ARGV[1]  the turn: an id, and the milliseconds at which it began
-- ARGV[2]  milliseconds for which the page is kept
-- ARGV[3]  the page; empty if it could not be read
--
-- Answers whether the turn had not been over.

-- Whoever took it over may have a younger page.
if redis.call('GET', KEYS[2]) ~= ARGV[1] then
    return 0
end
redis.call('DEL', KEYS[2])
if ARGV[3] ~= '' then
    redis.call('DEL', KEYS[1])
    redis.call('HSET', KEYS[1], 'turn', ARGV[1], 'body', ARGV[3])
    redis.call('PEXPIRE', KEYS[1], ARGV[2])
end
return 1
