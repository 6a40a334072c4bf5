-- A value and its remaining time, as they are at one moment.
return {redis.call('PTTL', KEYS[1]), redis.call('GET', KEYS[1])}
