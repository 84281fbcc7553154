"""PCI: configuration space, enumeration, BARs."""
