"""Key custody: master keys, session keys and seeds, behind one interface (`interface`). The
embedded default keeps them in an encrypted file (`keyfile`) and computes here (`software`)."""
