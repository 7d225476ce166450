"""Labels: the serial number as text, Code 128 and QR code, never anything secret. `layout` draws
one label in millimetres; `svg`, `pdf` and `zpl` write it."""
