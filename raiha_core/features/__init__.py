"""What a picture shows, patch by patch, and under which light."""
