"""What people read, in the languages that they speak: words as they are written in the sources
(English), their translations (`catalogues/*.po`), and which language is meant."""
