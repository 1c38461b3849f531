"""One completion: the machine, its tables, its log, its meter, who reads it."""
