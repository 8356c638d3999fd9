"""What is published: tables as data, their rendering, figures, conclusions."""
