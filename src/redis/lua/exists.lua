return type(there) == 'string' and {there} or there
