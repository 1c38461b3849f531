"""The four API flavours: parser, encoder, errors of each. Pure: no I/O, no clock."""
