"""Directories of firms (LDAP, Active Directory): who is in them, whether a password is right."""
