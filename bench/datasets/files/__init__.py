"""From files to arrays: lists, tables, pictures, and the cache of what is decoded."""
