"""Tables, figures and the page that report an evaluation."""
