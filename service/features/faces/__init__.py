"""Face tasks: photos in; faces with box, gender and age, and the task's statistics, out."""
