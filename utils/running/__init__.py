"""A call of the pipeline in, its checked data, profile and weights out; its parts on several machines; what works on this one."""
