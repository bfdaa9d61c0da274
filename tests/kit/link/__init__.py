"""A road between network namespaces on which packets take time, get lost, overtake each other and queue."""
