"""What is kept in Redis or Valkey."""
