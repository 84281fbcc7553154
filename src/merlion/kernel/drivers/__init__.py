"""Device drivers: one folder or file a device."""
