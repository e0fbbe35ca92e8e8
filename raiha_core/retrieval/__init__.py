"""References for a composite: similar content under the background's light."""
