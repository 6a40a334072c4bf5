if there ~= 1 then return type(there) == 'string' and {there} or 0 end
put(ARGV[3], ARGV[4])
return 1
